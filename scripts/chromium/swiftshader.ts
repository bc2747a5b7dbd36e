import { delimiter, join } from 'node:path';
import { unpackSwiftShader } from './unpack.js';

/** The environment in which Vulkan is served by SwiftShader, and by nothing else. */
export async function swiftShaderEnvironment(): Promise<NodeJS.ProcessEnv> {
  const folder = await unpackSwiftShader();
  const driver = join(folder, 'vk_swiftshader_icd.json');
  const path = process.env.LD_LIBRARY_PATH;
  return {
    ...process.env,
    LD_LIBRARY_PATH: path ? `${folder}${delimiter}${path}` : folder,
    // The second one is the name that loaders before 1.3.207 know.
    VK_DRIVER_FILES: driver,
    VK_ICD_FILENAMES: driver,
  };
}
