// A picture that is drawn again in place on a terminal, or printed frame after frame elsewhere. Whatever happens, `close`
// shows the cursor again; scrollback and the last frame stay.
import type { Output } from './context.ts';

export interface Screen {
  /** Shows the lines unless they are what is shown already; lines are expected to fit the width. */
  draw(lines: readonly string[]): void;
  close(): void;
}

const HIDE_CURSOR = '\u001b[?25l';
export const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_BELOW = '\u001b[J';
const CLEAR_REST_OF_LINE = '\u001b[K';
const CLEAR_ALL = '\u001b[2J\u001b[H';

/** What stands between two frames where the output is no terminal. */
const FRAME_SEPARATOR = '---';

export function openScreen(output: Output): Screen {
  return output.isTerminal ? terminalScreen(output) : printedFrames(output);
}

function printedFrames(output: Output): Screen {
  let shown: string | undefined;
  return {
    draw: (lines) => {
      const frame = `${lines.join('\n')}\n`;
      if (frame === shown) return;
      output.write(shown === undefined ? frame : `${FRAME_SEPARATOR}\n${frame}`);
      shown = frame;
    },
    close: () => undefined,
  };
}

function terminalScreen(output: Output): Screen {
  let shown: readonly string[] = [];
  let [open, resized] = [true, false];
  const stopResize = output.onResize(() => (resized = true));
  output.write(HIDE_CURSOR);
  return {
    draw: (lines) => {
      const frame = clip(lines, output.size().rows);
      if (!resized && frame.length === shown.length && frame.every((line, at) => line === shown[at])) return;
      // One write for a frame, and no clearing before it: nothing flickers. After a change of size lines have moved.
      const home = resized ? CLEAR_ALL : shown.length > 0 ? `\u001b[${shown.length}A\r` : '';
      output.write(home + frame.map((line) => `${line}${CLEAR_REST_OF_LINE}\n`).join('') + CLEAR_BELOW);
      [shown, resized] = [frame, false];
    },
    close: () => {
      if (!open) return;
      open = false;
      stopResize();
      output.write(SHOW_CURSOR);
    },
  };
}

/** A frame must fit the terminal, or moving back to its first line fails. The cursor needs the last row. */
function clip(lines: readonly string[], rows: number): readonly string[] {
  const room = Math.max(2, rows - 1);
  if (lines.length <= room) return lines;
  return [...lines.slice(0, room - 1), `... ${lines.length - room + 1} more lines; enlarge the terminal`];
}
