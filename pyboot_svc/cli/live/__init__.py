"""What `pyboot top` shows on a terminal.

poller     asks the master, in a thread of its own
history    the latest figures of each instance, and sparklines of them
view       what a person has chosen to see: which page, sorted and filtered how
page       makes lines of all that, for a screen of any size
screen     shows the lines on a terminal, and hears its keys
"""
