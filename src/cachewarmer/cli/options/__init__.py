"""Options that several commands share: functions that register them, and the frozen values that they are parsed into.

Only functions with an argument ``chosen`` see an ``argparse.Namespace``. The drop-in commands make the same values from
their own flags. A command imports only the modules whose options it has.
"""
