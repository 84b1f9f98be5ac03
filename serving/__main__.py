"""`python -m serving`: the embedded model server, with `tensorflow_model_server`'s flags."""

import sys

from serving.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
