"""The run: state machine, journal, session and the loop that joins them."""
