"""How long each pump has run: a total that survives restarts."""


class RunningHours:
    def __init__(self, context):
        self.limit = context.options["service_after"]

    def __call__(self, payload, context):
        pump = context.topic.split("/")[1]
        hours = context.state.get(pump, 0) + payload["hours"]
        context.state[pump] = hours
        return {"pump": pump, "hours": hours, "service": hours >= self.limit}
