// What is said of hosts and of servers that are only watched, in one sentence each: for events and for status. For people only.
import type { CommandOf } from '../cluster/applied.ts';
import type { ServerWord } from '../cluster/commands.ts';
import { DEFAULT_FORMATION } from '../cluster/hosts.ts';
import { EVIDENCE } from './evidence-text.ts';

export function declarationText({ peer, host }: CommandOf<'declare-host'>): string {
  const { runs, watch } = host;
  const formation =
    runs === undefined || runs.formation === DEFAULT_FORMATION ? '' : `, formation ${runs.formation}`;
  const what =
    runs === undefined
      ? 'no PostgreSQL: it is a witness'
      : `node ${runs.node} (group ${runs.group}${formation})`;
  const servers = watch.map(({ server, host: at, port }) => `${server} at ${at}:${port}`).join(', ');
  return `by its configuration, host ${peer} runs ${what}${servers === '' ? '' : `; it has watched: ${servers}`}`;
}

export function judgementText({ peer, server, word }: CommandOf<'judge-server'>): string {
  return word.kind === 'down'
    ? `peer ${peer} finds watched server ${server} down: ${EVIDENCE[word.evidence]}`
    : `peer ${peer} finds watched server ${server} up${roleText(word)}`;
}

/** What has changed, by the word of a majority. */
export function watchedText({ server, word, before }: CommandOf<'conclude-server'>): string {
  const subject = `watched server ${server}`;
  if (word.kind === 'down') return `${subject} is down: ${EVIDENCE[word.evidence]}`;
  if (before?.kind !== 'up') return `${subject} is up${roleText(word)}`;
  if (before.role !== word.role)
    return `${subject} changed its role: it was ${roleName(before)}, and is ${roleName(word)}${timelineText(word)}`;
  return `${subject} is${timelineText(word)} now`;
}

type Up = Extract<ServerWord, { readonly kind: 'up' }>;

const roleName = ({ role }: Up): string => (role === undefined ? 'of an unknown role' : `a ${role}`);

function timelineText({ timeline }: Up): string {
  return timeline === undefined ? ' on an unknown timeline' : ` on timeline ${timeline}`;
}

function roleText(word: Up): string {
  return word.role === undefined
    ? ', and does not let us in to ask for its role'
    : `: ${roleName(word)}${timelineText(word)}`;
}
