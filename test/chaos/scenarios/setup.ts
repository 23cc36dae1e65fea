// Before the first scenario: the Docker engine answers, and the images are current. Without an engine the chaos tests fail.
import { buildImages, chooseBase, docker } from '../cluster/docker.ts';

export async function setup(): Promise<void> {
  try {
    await docker(['version']);
  } catch (error) {
    throw new Error('the chaos tests need a Docker engine, and none answers', { cause: error });
  }
  await chooseBase();
  await buildImages();
}
