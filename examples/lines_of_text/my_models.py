"""A device that sends text instead of JSON: `codec: raw` gives its bytes."""


def parse(payload):
    device, celsius = payload.decode("ascii").strip().split(";")
    return {"device": device, "value": float(celsius), "unit": "C"}
