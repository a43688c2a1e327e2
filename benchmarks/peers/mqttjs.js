// mqtt.js: `message` publishes.
//
// Best settings: MQTT 3.1.1, no topic aliases, TCP_NODELAY. It acknowledges an input when it has
// been handed over: with `customHandleAcks` it would take one message at a time.
'use strict'
const mqtt = require('mqtt')

const [port, qos, work] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]]

function compute (payload) {
  const reading = JSON.parse(payload)
  const values = reading.values
  let sum = 0
  let min = Infinity
  let max = -Infinity
  for (const value of values) {
    sum += value
    if (value < min) min = value
    if (value > max) max = value
  }
  const mean = sum / values.length
  let squares = 0
  for (const value of values) squares += (value - mean) ** 2
  const std = Math.sqrt(squares / values.length)
  const converted = values.map(value => value * 1.8 + 32)
  return JSON.stringify({ id: reading.id, mean, std, min, max, converted })
}

const client = mqtt.connect({ host: '127.0.0.1', port, protocolVersion: 4, noDelay: true })
client.on('connect', () => {
  client.stream.setNoDelay(true)
  client.subscribe('bench/in/#', { qos })
})
client.on('message', (topic, payload) => {
  client.publish('bench/out', work === 'compute' ? compute(payload) : payload, { qos })
})
