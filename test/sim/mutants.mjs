// `npm run sim:mutants`: makes the test build where it is not there yet, and runs the hunt for mutations in it.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';

const folder = await build();
await import(pathToFileURL(join(folder, 'js/test/sim/mutants/main.js')).href);
