# An image with the whole of the project set up; its glibc takes the official wheels as they are.
#   docker build -t easq .
#   mkdir -p easq_run
#   docker run --rm --user "$(id -u)" --read-only --tmpfs /tmp --cap-drop ALL \
#     --security-opt no-new-privileges -v "$PWD/easq_run:/runs" easq run --workdir /runs
# Any user will do, and nothing but /runs and /tmp is written to: whoever gets in can change neither
# the program nor its packages.
FROM python:3.11-slim-trixie

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /easq

# What the set-up reads, apart from the rest: a change of code does not install anything again.
COPY Makefile LICENSE README.md pyproject.toml requirements.txt ./
COPY environment/ environment/
RUN PIP_NO_CACHE_DIR=1 make setup

COPY . .

ENV PATH="/easq/.venv/bin:$PATH" HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001
ENTRYPOINT ["easq"]
CMD ["run", "--workdir", "/runs"]
