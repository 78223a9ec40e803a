import { open } from 'node:fs/promises';

/** Makes a rename in the folder survive a power loss (ES-21). */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
