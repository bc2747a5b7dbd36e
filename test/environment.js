import { TestEnvironment } from 'jest-environment-node';
import { create, globals } from 'webgpu';

/**
 * SwiftShader unrolls what the extension of this name asks for, zeros in workgroup memory, number by number: a kernel
 * compiles in seconds instead of tenths. Without it Dawn writes a loop into the shader.
 */
const QUICK_TO_COMPILE = 'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension';

/** @type {Map<string, GPU>} */
const instances = new Map();

/**
 * Node's environment for tests, with Dawn in it. The package `webgpu` is an ES module, which jest's CommonJS sandbox
 * cannot load. All test files of a process share one Dawn, which is never collected.
 */
export default class extends TestEnvironment {
  /** @override */
  async setup() {
    await super.setup();
    this.global.dawn = {
      globals,
      /** @param {string[]} options */
      create(options) {
        const key = options.join();
        const gpu = instances.get(key) ?? create([...options, QUICK_TO_COMPILE]);
        instances.set(key, gpu);
        return gpu;
      },
    };
  }
}
