// Node-RED, headless: a flow of mqtt in, a function (for compute), and mqtt out.
//
// Best settings: no editor and no admin API, no logging, identity as a buffer without a node
// between, compute with the `mqtt in` node parsing the JSON itself; one broker connection. It
// acknowledges an input when it arrives.
'use strict'
const fs = require('fs')
const http = require('http')
const os = require('os')
const path = require('path')
const RED = require('node-red')

const [port, qos, work] = [process.argv[2], process.argv[3], process.argv[4]]

const compute = `
const values = msg.payload.values
let sum = 0, min = Infinity, max = -Infinity
for (const value of values) {
  sum += value
  if (value < min) min = value
  if (value > max) max = value
}
const mean = sum / values.length
let squares = 0
for (const value of values) squares += (value - mean) ** 2
msg.payload = {
  id: msg.payload.id, mean, std: Math.sqrt(squares / values.length), min, max,
  converted: values.map(value => value * 1.8 + 32)
}
msg.topic = ''
return msg`

const toFunction = work === 'compute'
const flow = [
  { id: 'tab', type: 'tab', label: 'bench' },
  { id: 'server', type: 'mqtt-broker', broker: '127.0.0.1', port, clientid: '', autoConnect: true,
    usetls: false, protocolVersion: '4', keepalive: '60', cleansession: true },
  { id: 'source', z: 'tab', type: 'mqtt in', topic: 'bench/in/#', qos,
    datatype: toFunction ? 'json' : 'buffer', broker: 'server', inputs: 0,
    wires: [[toFunction ? 'compute' : 'sink']] },
  { id: 'sink', z: 'tab', type: 'mqtt out', topic: 'bench/out', qos, retain: 'false',
    broker: 'server', wires: [] }
]
if (toFunction) {
  flow.push({ id: 'compute', z: 'tab', type: 'function', func: compute, outputs: 1,
    initialize: '', finalize: '', libs: [], wires: [['sink']] })
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nodered-'))
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))
process.on('SIGTERM', () => process.exit(0))
fs.writeFileSync(path.join(folder, 'flows.json'), JSON.stringify(flow))
RED.init(http.createServer(), {
  userDir: folder,
  flowFile: 'flows.json',
  httpAdminRoot: false,
  httpNodeRoot: false,
  credentialSecret: false,
  telemetry: { enabled: false },
  logging: { console: { level: 'fatal', metrics: false, audit: false } }
})
RED.start()
