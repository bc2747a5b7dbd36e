import type { MathBackendWebGL } from '@tensorflow/tfjs-backend-webgl';
import { env } from '@tensorflow/tfjs-core';

import { fragmentText, type Shader, vertexText } from './shader.js';

/**
 * A matrix on the device in tiles of 4 x 4 numbers: a float32 texture array of four layers, texel (x, y) of layer `a`
 * holding row `a` of the tile in column `x` and row `y` of tiles. A tile is written by one fragment, to four attachments,
 * and read by four fetches, for which a product gives 64 multiply-adds; with tfjs's packed 2 x 2 texels it is 16.
 */
export interface Image {
  readonly texture: WebGLTexture;
  /** Columns and rows of tiles. */
  readonly width: number;
  readonly height: number;
}

/** A shader that was compiled. */
export interface Program {
  readonly program: WebGLProgram;
  readonly locations: Readonly<Record<string, WebGLUniformLocation | null>>;
}

/** Textures kept for the next call, in bytes. */
const KEPT_BYTES = 32 * 2 ** 20;

export const imageBytes = ({ width, height }: Pick<Image, 'width' | 'height'>): number => 64 * width * height;

const devices = new WeakMap<MathBackendWebGL, WebGlDevice>();

/** What the kernels keep on the device of a backend: compiled shaders, a framebuffer, and textures to use again. */
export class WebGlDevice {
  readonly gl: WebGL2RenderingContext;
  private readonly framebuffer: WebGLFramebuffer;
  private readonly vertices: WebGLVertexArrayObject;
  private readonly programs = new Map<Shader, Program>();
  private readonly free = new Map<string, Image[]>();
  private keptBytes = 0;

  static of(backend: MathBackendWebGL): WebGlDevice {
    let device = devices.get(backend);
    if (device === undefined) devices.set(backend, (device = new WebGlDevice(backend)));
    return device;
  }

  private constructor(backend: MathBackendWebGL) {
    const { gl } = backend.getGPGPUContext();
    if (!(gl instanceof WebGL2RenderingContext)) throw new Error('the backend webgl has no WebGL 2');
    this.gl = gl;
    this.framebuffer = gl.createFramebuffer();
    this.vertices = gl.createVertexArray();
  }

  /** Longest side of a texture: as tfjs knows it, where it can also be lowered. */
  get maxSize(): number {
    return env().getNumber('WEBGL_MAX_TEXTURE_SIZE');
  }

  program(shader: Shader): Program {
    let program = this.programs.get(shader);
    if (program === undefined) this.programs.set(shader, (program = this.link(shader)));
    return program;
  }

  private compile(type: number, text: string, name: string): WebGLShader {
    const { gl } = this;
    const shader = gl.createShader(type);
    if (shader === null) throw new Error(`webgl: no shader ${name} can be made: the context is lost`);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (gl.getShaderParameter(shader, gl.COMPILE_STATUS) !== true && !gl.isContextLost()) {
      throw new Error(`webgl: the shader ${name} does not compile: ${gl.getShaderInfoLog(shader) ?? 'no message'}`);
    }
    return shader;
  }

  private link(shader: Shader): Program {
    const { gl } = this;
    const program = gl.createProgram();
    const parts = [
      this.compile(gl.VERTEX_SHADER, vertexText(shader), shader.name),
      this.compile(gl.FRAGMENT_SHADER, fragmentText(shader), shader.name),
    ];
    for (const part of parts) gl.attachShader(program, part);
    gl.linkProgram(program);
    if (gl.getProgramParameter(program, gl.LINK_STATUS) !== true && !gl.isContextLost()) {
      throw new Error(
        `webgl: the shader ${shader.name} does not link: ${gl.getProgramInfoLog(program) ?? 'no message'}`,
      );
    }
    for (const part of parts) gl.deleteShader(part);
    const tensors = shader.tensors ?? [];
    const names = [...shader.images, ...tensors, ...tensors.map((name) => `${name}At`), ...Object.keys(shader.params)];
    return {
      program,
      locations: Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)])),
    };
  }

  /** A matrix of arbitrary contents. */
  acquire(width: number, height: number): Image {
    const same = this.free.get(`${width} ${height}`)?.pop();
    if (same) {
      this.keptBytes -= imageBytes(same);
      return same;
    }
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, width, height, 4);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, filter, gl.NEAREST);
    }
    return { texture, width, height };
  }

  release(image: Image): void {
    const key = `${image.width} ${image.height}`;
    const same = this.free.get(key) ?? [];
    this.free.set(key, same);
    same.push(image);
    this.keptBytes += imageBytes(image);
    for (const images of this.free.values()) {
      while (this.keptBytes > KEPT_BYTES && images.length > 0) {
        const [oldest] = images.splice(0, 1);
        this.gl.deleteTexture(oldest.texture);
        this.keptBytes -= imageBytes(oldest);
      }
    }
  }

  /** Makes an image, or the texture of a tensor, what is drawn to. */
  bindTarget(target: Image | WebGLTexture, isImage: boolean): void {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    const attachments = [gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1, gl.COLOR_ATTACHMENT2, gl.COLOR_ATTACHMENT3];
    for (const [layer, attachment] of attachments.entries()) {
      if (isImage) {
        gl.framebufferTextureLayer(gl.FRAMEBUFFER, attachment, (target as Image).texture, 0, layer);
      } else {
        gl.framebufferTexture2D(gl.FRAMEBUFFER, attachment, gl.TEXTURE_2D, layer === 0 ? target : null, 0);
      }
    }
    gl.drawBuffers(isImage ? attachments : attachments.slice(0, 1));
    gl.bindVertexArray(this.vertices);
  }

  /** Whether the framebuffer can be drawn to as it is bound. */
  get isComplete(): boolean {
    const { gl } = this;
    return gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
  }
}
