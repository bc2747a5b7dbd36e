/** Something the user gave is not usable; the message is meant for them and stands without a stack trace. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
