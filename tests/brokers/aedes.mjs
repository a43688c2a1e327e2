// A broker on the port that is given. The package lies where `make test-brokers` installs it.
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { pathToFileURL } from 'node:url';

const place = new URL('../../build/brokers/', import.meta.url);
const { Aedes } = await import(
  pathToFileURL(createRequire(place).resolve('aedes')).href
);
const broker = await Aedes.createBroker();
createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1');
