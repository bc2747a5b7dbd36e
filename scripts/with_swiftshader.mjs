// `node scripts/with_swiftshader.mjs COMMAND ...` runs COMMAND with Vulkan served by SwiftShader, without a GPU.
import { tsImport } from 'tsx/esm/api';

await tsImport('./chromium/main.ts', import.meta.url);
