import { TestEnvironment } from 'jest-environment-node';

/**
 * An addon makes its typed arrays in Node's own realm, jest's sandbox has other constructors of the same names: the ones
 * of Node take their place, so that `instanceof` holds.
 */
export default class NativeEnvironment extends TestEnvironment {
  constructor(...args: ConstructorParameters<typeof TestEnvironment>) {
    super(...args);
    Object.assign(this.global, { Float32Array, Int32Array, Uint8Array, Uint8ClampedArray });
  }
}
