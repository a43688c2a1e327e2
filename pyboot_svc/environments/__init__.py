"""Python environments of models' own: their interpreter runs pyboot, with pyboot's own libraries.

interpreter  which one a configuration names, what it needs, and how a process goes on as it
guest        what that runs first
libraries    pyboot's own, lent to it until the model is loaded
packages     what is installed in an environment, and what has changed
"""
