"""The options that commands share: how each is registered, and the frozen values that a command line becomes.

Only the functions that take ``chosen`` see an ``argparse.Namespace``. The drop-in commands make the same values from their
own flags. A command imports only the modules whose options it has.
"""
