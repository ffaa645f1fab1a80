// Which pairs of points are near, on tensor cores: one bit a pair, written once, by no atomic operation.
//
// `left` and `right` have 32 float16 a point, as points.py makes them, so that the inner product of two is below zero
// where they may be near. Points lie in blocks of `side`, a multiple of 64; a square is a block of the left with one
// of the right, `rows[s]` and `columns[s]`. A warp has 64 rows of a square and goes through its columns, 8 at once.
// A sum takes its 32 products in any order, so a lane reads 8 values that lie together, and takes them for the ones
// that mma wants of it: the same of both sides.
//
// Of 16 rows and 8 columns there are four words: bit 4 g + t of word w is for row g + 8 (w / 2), column 2 t + w % 2.

typedef unsigned int word;

__device__ __forceinline__ void multiply(float (&sums)[4], word a0, word a1, word a2, word a3, word b0, word b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

extern "C" __global__ void near_bits(
    const uint4* left, const uint4* right, const long long* rows, const long long* columns, int side, uint4* bits) {
    const int lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
    const int first = 64 * (blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32);  // of the warp's rows
    if (first >= side) return;
    const uint4* a = left + (rows[blockIdx.x] * side + first) * 4 + quarter;
    const uint4* b = right + columns[blockIdx.x] * side * 4 + quarter;
    uint4 high[4], low[4];  // of 16 rows each: those of row g and of row g + 8
    for (int part = 0; part < 4; part++) {
        high[part] = a[(16 * part + group) * 4];
        low[part] = a[(16 * part + group + 8) * 4];
    }
    uint4* out = bits + (long long)blockIdx.x * (side / 16) * (side / 8) + (first / 16) * (side / 8);
#pragma unroll 4
    for (int eight = 0; eight < side / 8; eight++) {
        const uint4 c = b[(8 * eight + group) * 4];
#pragma unroll
        for (int part = 0; part < 4; part++) {
            float sums[4] = {0, 0, 0, 0};
            multiply(sums, high[part].x, low[part].x, high[part].y, low[part].y, c.x, c.y);
            multiply(sums, high[part].z, low[part].z, high[part].w, low[part].w, c.z, c.w);
            uint4 words;
            words.x = __ballot_sync(0xffffffffu, sums[0] < 0);
            words.y = __ballot_sync(0xffffffffu, sums[1] < 0);
            words.z = __ballot_sync(0xffffffffu, sums[2] < 0);
            words.w = __ballot_sync(0xffffffffu, sums[3] < 0);
            if (lane == part) out[part * (side / 8) + eight] = words;
        }
    }
}
