// The kernel of mesa attention's step that comes before those of linear attention's: the systems of the rows, each solved
// for its query.
#include "common/cuda/state_step.cuh"
#include "common/cuda/triangle.cuh"

namespace tfjs_lla {

// solved_i = (G_i + diag(ridge))^-1 q_i, with G_i the sum of k k^T up to row i; NaN where the ridge cannot be used. Blocks:
// rows, heads.
TFJS_LLA_DEVICE void SolveMesaStep(const StateStepParams& p) {
  const int in_launch = static_cast<int>(BlockIndex() % p.rows), number = in_launch + 1;
  const StateTokens tokens(p, static_cast<int>(BlockIndex() / p.rows));
  const long long row = tokens.first + in_launch;
  float* const solution = reinterpret_cast<float*>(SharedMemory());  // [dim]
  int* const kinds = reinterpret_cast<int*>(solution + p.dim);       // [kMostStateTokens]
  float* const triangle = p.triangles ? p.triangles + BlockIndex() * TriangleFloats(p.dim)
                                      : reinterpret_cast<float*>(kinds + kMostStateTokens);
  const float* const given = p.ridge ? p.ridge + tokens.head % p.heads_per_batch * p.dim : nullptr;
  bool wrong = false;
  for (int d = ThreadIndex(); d < p.dim; d += kTriangleThreads) {
    const float ridge = given ? given[d] : p.ridge_value;
    wrong |= !(ridge > 0 && IsFinite(ridge));
  }
  const bool usable = !AnyInBlock(wrong);
  // A ridge that cannot be used computes with 1.
  const auto ridge_of = [given, usable, &p](int d) { return !usable ? 1.0f : given ? given[d] : p.ridge_value; };
  tokens.Look(number, kinds);
  const float* const sums = p.left_sum + static_cast<long long>(tokens.head) * p.dim * p.dim;
  for (int at = ThreadIndex(); at < p.dim * p.dim; at += kTriangleThreads) {
    const int r = at / p.dim, c = at % p.dim;
    if (c > r) continue;
    float sum = sums[at] + (c == r ? ridge_of(r) : 0.0f);
    for (int j = 0; j < number; j++) {
      if (kinds[j] == StateTokens::kUsed) sum += tokens.Key(j)[r] * tokens.Key(j)[c];
    }
    triangle[TrianglePlace(r, c)] = sum;
  }
  for (int d = ThreadIndex(); d < p.dim; d += kTriangleThreads) {
    triangle[TrianglePlace(p.dim, d)] = p.query[row * p.dim + d];
  }
  SyncBlock();
  SolveTriangle(triangle, solution, p.dim, ridge_of);
  for (int d = ThreadIndex(); d < p.dim; d += kTriangleThreads) {
    p.solved[row * p.dim + d] = usable ? solution[d] : FromBits(0x7fc00000);
  }
}

TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kTriangleThreads, 1) tfjs_lla_mesa_step_solve(const StateStepParams p) {
  SolveMesaStep(p);
}

}  // namespace tfjs_lla
