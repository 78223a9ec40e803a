/** `RAFT_STORIES=rewrite` writes what happens now into the stories; commit that only if you know why it changed. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseStory, StoryCluster, writeStory } from './story.ts';

const folder = join(import.meta.dirname, 'testdata');
const rewrite = process.env['RAFT_STORIES'] === 'rewrite';

describe('stories', () => {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.txt'))) {
    const path = join(folder, name);
    const { why, blocks } = parseStory(readFileSync(path, 'utf8'));
    const title = why.split('\n')[0]!.replace(/^# /, '');

    test(`${name.replace('.txt', '')}: ${title}`, () => {
      expect(why).toMatch(/^# /);
      const cluster = new StoryCluster();
      const told = blocks.map(({ command }) => ({ command, outcome: cluster.run(command) }));
      if (rewrite) writeFileSync(path, writeStory(why, told));
      else expect(writeStory(why, told)).toBe(writeStory(why, blocks));
    });
  }
});
