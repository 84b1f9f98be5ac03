"""Sets up the checkout's virtual environment. Standard library only: it runs before anything is there."""
