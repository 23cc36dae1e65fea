// A plugin for oxlint with the two rules it has no words for: `architecture/layers` (who may import whom, as an
// allow-list) and `architecture/no-async` (the pure core never waits). Their failing examples are in test/fixtures/lint.
import { relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isPure, whyForbidden } from './layers.mjs';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');
const FIXTURES = 'test/fixtures/lint/tree/';

/** The file's path in the project; a fixture is judged as if its tree were the project. */
function projectPath(filename) {
  const path = relative(PROJECT, filename).split(sep).join('/');
  return path.startsWith(FIXTURES) ? path.slice(FIXTURES.length) : path;
}

function isTypeOnly(node) {
  if (node.importKind === 'type' || node.exportKind === 'type') return true;
  const specifiers = node.specifiers ?? [];
  return (
    specifiers.length > 0 &&
    specifiers.every((each) => each.importKind === 'type' || each.exportKind === 'type')
  );
}

const layers = {
  create(context) {
    const file = projectPath(context.filename);
    const check = (node, specifier, typeOnly) => {
      const why = whyForbidden(file, specifier, typeOnly);
      if (why !== undefined) context.report({ node, message: why });
    };
    const declaration = (node) => {
      if (node.source) check(node, node.source.value, isTypeOnly(node));
    };
    return {
      Program(node) {
        const why = whyForbidden(file, './self.ts', true);
        if (why !== undefined) context.report({ node, message: why });
      },
      ImportDeclaration: declaration,
      ExportNamedDeclaration: declaration,
      ExportAllDeclaration: declaration,
      ImportExpression(node) {
        if (node.source.type === 'Literal' && typeof node.source.value === 'string')
          check(node, node.source.value, false);
        else if (file.startsWith('src/')) {
          context.report({ node, message: 'import() of a computed path hides which folder it depends on' });
        }
      },
      TSImportType(node) {
        const source = node.source ?? node.argument;
        const value = source?.value ?? source?.literal?.value;
        if (typeof value === 'string') check(node, value, true);
      },
    };
  },
};

const noAsync = {
  create(context) {
    if (!isPure(projectPath(context.filename))) return {};
    const report = (node, what) =>
      context.report({ node, message: `${what} in the pure core: it returns effects and never waits` });
    const asyncFunction = (node) => {
      if (node.async) report(node, 'async function');
    };
    return {
      FunctionDeclaration: asyncFunction,
      FunctionExpression: asyncFunction,
      ArrowFunctionExpression: asyncFunction,
      AwaitExpression: (node) => report(node, 'await'),
      ForOfStatement(node) {
        if (node.await) report(node, 'for await');
      },
      ImportExpression: (node) => report(node, 'import()'),
    };
  },
};

export default { meta: { name: 'architecture' }, rules: { layers, 'no-async': noAsync } };
