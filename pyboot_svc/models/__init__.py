"""Models that come with pyboot, to be named in `edge_mode`.

telemetry   converts temperatures to one unit, and keeps rolling statistics of each device
alarm       high and low alarms that don't chatter
anomaly     unusual readings, by a control chart for each device and point
silence     devices that stopped speaking
windows     statistics over windows of event time
samples     statistics of the samples in a message, by numpy for a whole batch
onnx        a model file, by onnxruntime
joblib      a file of scikit-learn's: predictions, probabilities
_sources    what devices really send, as readings
_summary    count, mean and spread of some readings, merged
_population which devices there may be, and what is said when one is forgotten
_reading    readings of a payload, a state per series
_options    their options
_model_file the file that a model is in
"""
