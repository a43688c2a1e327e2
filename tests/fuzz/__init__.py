"""Inputs made by machines, thrown at all that reads what others wrote.

target      what is tried: a name, a function of bytes, inputs that it knows to be good
targets/    all of them
mutation    makes inputs of others, by a seed: the same ones each time
corpus/     inputs that have found something, or lead further than others; a folder for each target
campaign    `make fuzz`: for as long as it is told
"""
