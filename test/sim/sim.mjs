// `npm run sim`: makes the test build where it is not there yet, and runs its main program.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';

const folder = await build();
await import(pathToFileURL(join(folder, 'js/test/sim/main.js')).href);
