"""`python -m groundswell`: the command line."""

from groundswell.cli import main

main()
