/** `raftsman archive …` in this process, with what it printed. */
import { runArchive } from '../../src/cli/archive.ts';

export async function archive(...argv: string[]) {
  let out = '';
  let err = '';
  const status = await runArchive(argv, { stdout: (text) => (out += text), stderr: (text) => (err += text), env: {} });
  return { status, out, err };
}
