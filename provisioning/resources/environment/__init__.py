"""The Python environment: locked, fetched as wheels on the driver, installed alike on every node."""
