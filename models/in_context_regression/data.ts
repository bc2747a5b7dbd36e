/** Contexts whose linear map changes from one segment to the next: the streams of test_time_regression, short and many. */
export { segmentedStreams, type StreamSizes } from '../test_time_regression/data.js';
