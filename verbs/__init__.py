"""One file per verb, each with a `command`. A verb returns an `Answer`; it does not print. See `cli`."""
