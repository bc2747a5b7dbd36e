import { serialization } from '@tensorflow/tfjs-core';

const PACKAGE = 'tfjs-lla';

/**
 * Registers a layer for loading, unless another copy of this package (the same as CommonJS, say) has done so. The saved
 * class name does not say which package it is of, so it has to be one that nobody else takes.
 */
export function register<T extends serialization.Serializable>(cls: serialization.SerializableConstructor<T>): void {
  const { classNameMap } = serialization.SerializationMap.getMap();
  if (Object.hasOwn(classNameMap, cls.className)) {
    const [registered] = classNameMap[cls.className];
    if (serialization.getRegisteredName(registered) === `${PACKAGE}>${cls.className}`) return;
  }
  serialization.registerClass(cls, PACKAGE);
}
