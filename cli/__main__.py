"""`python -m forgetless.cli`: the console script, where nothing but the interpreter is known."""

from forgetless.cli.main import main

if __name__ == "__main__":
    main()
