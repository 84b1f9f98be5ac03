// Returns what is wrong with the page as people with a screen reader, a keyboard or tired eyes meet
// it: rule → list of the elements at fault, in words.
() => {
  const named = (element) => {
    const text = (element.getAttribute("aria-label") || element.textContent || "").trim();
    return `<${element.localName}> ${text.replace(/\s+/g, " ").slice(0, 60)}`;
  };
  const shown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);

  // Colours as [red, green, blue, alpha], whatever notation the style is in.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const colour = (css) => {
    if (!known.has(css)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = css;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(css, [red, green, blue, alpha / 255]);
    }
    return known.get(css);
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (element) => {
    if (!element) return colour(matchMedia("print").matches ? "white" : "Canvas");
    const own = colour(getComputedStyle(element).backgroundColor);
    // Paper keeps its colour: browsers print no backgrounds.
    if (own[3] === 0 || matchMedia("print").matches) return background(element.parentElement);
    return own[3] === 1 ? own : over(own, background(element.parentElement));
  };
  // WCAG 2: relative luminance and contrast.
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };

  const pale = [];
  const tiny = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !shown(element)) continue;
    if (["script", "style", "title", "noscript"].includes(element.localName)) continue;
    const style = getComputedStyle(element);
    const paper = background(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const ratio = contrast(over(colour(ink), paper), paper);
    const zoom = element.closest("svg") ? Math.abs(element.getScreenCTM().a) : 1;
    const size = parseFloat(style.fontSize) * zoom;
    if (size < 9) tiny.push(`${size.toFixed(1)} pixels: ${named(element)}`);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.push(`${ratio.toFixed(2)}: ${named(element)}`);
  }

  const levels = all("h1, h2, h3, h4, h5, h6");
  const jumps = levels.filter((heading, place) => {
    const before = place ? Number(levels[place - 1].localName[1]) : 0;
    return Number(heading.localName[1]) > before + 1;
  });
  if (levels.filter((heading) => heading.localName === "h1").length !== 1) jumps.push(document.body);

  const unnamed = all("img:not([alt]), [role=img]:not([aria-label]), [role=region]:not([aria-label])")
    .concat(all("svg").filter((svg) => !svg.closest("[aria-hidden=true], [role=img][aria-label]")))
    .concat(all("a[href], button, summary").filter((control) =>
      !control.textContent.trim() && !control.ariaLabel && !control.title));

  const wide = all("body *").filter((element) =>
    element.scrollWidth > element.clientWidth + 1
    && ["auto", "scroll"].includes(getComputedStyle(element).overflowX));
  const page = document.documentElement;
  return {
    contrast: pale,
    "too small to read": tiny,
    headings: jumps.map(named),
    unnamed: unnamed.map(named),
    "header cells without scope": all("th:not([scope])").map(named),
    "ids given twice": [...document.querySelectorAll("[id]")].map((element) => element.id)
      .filter((id, place, ids) => ids.indexOf(id) !== place),
    "scrolls, but not by keyboard": wide.filter((element) => element.tabIndex < 0).map(named),
    "wider than the page": page.scrollWidth > page.clientWidth
      ? [`${page.scrollWidth} of ${page.clientWidth} pixels`] : [],
    "cut off on paper": matchMedia("print").matches ? wide.map(named) : [],
    "no language or title": page.lang && document.title ? [] : [named(document.body)],
  };
}
