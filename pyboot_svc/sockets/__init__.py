"""What the sockets between pyboot's processes have in common.

unix    makes a socket in the file system, or takes over one that a dead process left
tcp     the metrics socket over a network, for workers on other hosts
tls     certificates that are read anew, and connections secured by them
peers   who is at the other end
lines   JSON objects as lines: what goes over both

gate         stands before whatever answers HTTP: nobody who idles, drips or floods keeps others out
http         as much of HTTP as that takes
descriptors  how many connections there may be, and what to do when there can't be more
"""
