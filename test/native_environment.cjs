/**
 * An addon makes its typed arrays in Node's own realm, jest's sandbox has other constructors of the same names: the ones
 * of Node take their place, so that `instanceof` holds.
 */
const { TestEnvironment } = require('jest-environment-node');

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    Object.assign(this.global, { Float32Array, Int32Array, Uint8Array, Uint8ClampedArray });
  }
};
