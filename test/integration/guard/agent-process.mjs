// An agent in a process of its own, whose log is the test: it asks by message what its duty is, as it would through a Raft leader.
// The test can freeze or kill it like a sentineld.
//
//   node agent-process.mjs COMPILED_ROOT OPTIONS_AS_JSON
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [root, text] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(root, path)).href);
const { startAgent } = await load('src/actions/agent.js');
const { ALL_PROTECTIONS, DEFAULT_AGENT_TIMING } = await load('src/actions/context.js');
const { openFenceFile } = await load('src/actions/fence-file.js');
const { instance, registration, stateDirectory, settings, guard, protections } = JSON.parse(text);

const asked = new Map();
let lastAsk = 0;
const agent = await startAgent({
  peer: registration.peer,
  registration: () => registration,
  // Nothing is set in the log.
  instance: {
    ...instance,
    groupParameters: () => new Map(),
    maxSlotWalBytes: () => undefined,
    logicalSlots: () => [],
    isCascading: () => false,
    logicalSlotsFile: join(stateDirectory, 'logical-slots.json'),
    slotOwners: () => [],
    standbyLimits: () => [],
    groupHba: () => [],
    takenFile: join(stateDirectory, 'taken.json'),
    databaseFile: join(stateDirectory, 'database.json'),
    promoteRunFile: join(stateDirectory, 'promote-command'),
    adoptedHbaFile: join(stateDirectory, 'adopted-hba'),
    lockDirectory: join(stateDirectory, 'local'),
  },
  guard: { program: join(root, 'src/guard/main.js'), ...guard },
  fence: await openFenceFile({
    path: join(stateDirectory, 'fence'),
    cluster: 'test',
    node: registration.node,
  }),
  timing: { ...DEFAULT_AGENT_TIMING, crashHoldMs: 0 },
  protections: { ...ALL_PROTECTIONS, ...protections },
  propose: () => Promise.resolve({ kind: 'applied' }),
  readDuty: () =>
    new Promise((resolve) => {
      lastAsk += 1;
      asked.set(lastAsk, resolve);
      process.send({ kind: 'ask', id: lastAsk });
    }),
  registered: () => ({ ...registration, subjectiveDown: [] }),
  group: () => ({ settings, toAdopt: [] }),
  upstreamProblem: () => undefined,
  onReport: ({ condition, message }) => process.send({ kind: 'report', condition, message }),
  onGone: () => process.send({ kind: 'gone' }),
  onBack: () => undefined,
  log: (level, message, fields) => process.send({ kind: 'log', level, message, fields }),
});
process.on('message', (message) => {
  if (message.kind === 'duty') agent.setDuty(message.duty);
  else {
    asked.get(message.id)?.(message.duty);
    asked.delete(message.id);
  }
});
process.on('disconnect', () => process.exit(0));
process.send({ kind: 'ready' });
