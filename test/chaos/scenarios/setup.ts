// Before the first scenario: the Docker engine answers, and the images are current. Without an engine the chaos tests fail. After the
// last one, and after a run that was broken off: nothing is left but the images.
import { removeCluster } from '../cluster/cluster.ts';
import { docker } from '../cluster/docker.ts';
import { buildImages, chooseBase } from '../cluster/images.ts';

export async function setup(): Promise<void> {
  try {
    await docker(['version']);
  } catch (error) {
    throw new Error('the chaos tests need a Docker engine, and none answers', { cause: error });
  }
  await chooseBase();
  await buildImages();
}

export async function teardown(): Promise<void> {
  if (process.env['PG_SENTINEL_CHAOS_KEEP'] !== '1') await removeCluster();
}
