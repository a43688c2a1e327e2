def mean(payload):
    return {"mean": sum(payload["values"]) / len(payload["values"])}
