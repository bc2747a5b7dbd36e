/** A model of embedding, layer and dense that learns to repeat the last but one token, saved and loaded again. */
export const LEARN = `
  const make = () => {
    const model = tf.sequential();
    model.add(tf.layers.embedding({ inputDim: 5, outputDim: 12, inputLength: 8, maskZero: true }));
    model.add(layers.localLinearAttention({ numHeads: 2, keyDim: 6, useCausalMask: true, rotary: true, trainableRidge: true }));
    model.add(tf.layers.dense({ units: 5, activation: 'softmax' }));
    model.compile({ optimizer: tf.train.adam(0.02), loss: 'sparseCategoricalCrossentropy' });
    return model;
  };
  const tokens = Array.from({ length: 32 }, (_, b) => Array.from({ length: 8 }, (_, t) => 1 + ((b * 7 + t * t * (b % 5) + t) % 4)));
  const targets = tokens.map((row) => row.map((_, t) => [row[Math.max(0, t - 1)]]));
  const learn = async () => {
    const model = make();
    const [x, y] = [tf.tensor2d(tokens), tf.tensor3d(targets)];
    const { history } = await model.fit(x, y, { epochs: 25, batchSize: 16, shuffle: false });
    await model.save(directory('saved'));
    const again = await tf.loadLayersModel(directory('saved'));
    const [out, same] = [model.predict(x), again.predict(x)];
    const equal = Buffer.compare(Buffer.from(out.dataSync().buffer), Buffer.from(same.dataSync().buffer)) === 0;
    tf.dispose([x, y, out, same]);
    for (const used of [model, again]) used.dispose();
    model.optimizer.dispose();
    return { learned: history.loss[24] < 0.5 * history.loss[0], equal, tensors: tf.memory().numTensors };
  };`;
