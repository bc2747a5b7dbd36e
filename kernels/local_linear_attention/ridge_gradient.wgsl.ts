import { ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import { type InfoRowLayout, rowQuad } from '../common/webgpu/row_layout.js';
import type { Shader } from '../common/webgpu/shader.js';

/** The ridge's gradient per row, `-u.x`, from the rows' terms, whose last is the ridge times `u.x`. */
export function ridgeGradientShader(layout: InfoRowLayout): Shader {
  return {
    key: `ridgeGradient ${layout.info} ${layout.quads}`,
    workgroupSize: 64,
    params: { firstHead: 'u32', Tq: 'u32', Tqp: 'u32', nan: 'f32' },
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      terms: { access: 'read', element: 'vec4f' },
      dridge: { access: 'read_write', element: 'f32' },
    },
    workgroupBytes: 0,
    text: () => `${ROW_STATES}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.Tq) { return; }
  let row = id.y * params.Tqp + id.x;
  let info = ${rowQuad(layout, 'row', layout.info, '0u')};
  let value = select(0.0, -terms[row].w / info.x, info.y == ORDINARY);
  dridge[(params.firstHead + id.y) * params.Tq + id.x] = select(value, params.nan, info.y == BAD);
}`,
  };
}
