"""How the fitted parts are made: data in, numbers out, one command each. Not part of the installed package."""
