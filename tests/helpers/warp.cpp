// A kernel's text on cores: a warp is 32 threads, and what its lanes do together is done by hand.
//
// Built with -DKERNEL='"...cu"'. What mma.sync.aligned.m16n8k16 wants of which lane is from the PTX manual, "Matrix
// Fragments for mma.m16n8k16 with floating point type".

#include <barrier>
#include <cstring>
#include <thread>
#include <vector>

struct uint4 {
    unsigned x, y, z, w;
};
struct Place {
    int x, y;
};
thread_local Place threadIdx, blockIdx, blockDim;
static std::barrier lanes(32);
static unsigned left_parts[32][4], right_parts[32][2], votes[32];

static float half(unsigned word, int which) {
    unsigned short bits = word >> 16 * which;
    _Float16 value;
    std::memcpy(&value, &bits, 2);
    return value;
}

static float left_value(int row, int k) {  // of 16 rows of 16 values
    return half(left_parts[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
}

static float right_value(int k, int column) {  // of 16 rows of 8 values
    return half(right_parts[column * 4 + k % 8 / 2][k / 8], k % 2);
}

static void multiply_here(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    const int lane = threadIdx.x % 32;
    const unsigned a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
    std::memcpy(left_parts[lane], a, sizeof a);
    std::memcpy(right_parts[lane], b, sizeof b);
    lanes.arrive_and_wait();
    for (int one = 0; one < 4; one++)
        for (int k = 0; k < 16; k++)
            sums[one] += left_value(lane / 4 + one / 2 * 8, k) * right_value(k, lane % 4 * 2 + one % 2);
    lanes.arrive_and_wait();
}

static unsigned __ballot_sync(unsigned, bool vote) {
    votes[threadIdx.x % 32] = vote;
    lanes.arrive_and_wait();
    unsigned all = 0;
    for (int lane = 0; lane < 32; lane++) all |= votes[lane] << lane;
    lanes.arrive_and_wait();
    return all;
}

#define __device__
#define __forceinline__ inline
#define __global__
#define asm(...) multiply_here(sums, a0, a1, a2, a3, b0, b1)
#include KERNEL

extern "C" void on_cores(
    const uint4* left, const uint4* right, const long long* rows, const long long* columns, int side, uint4* bits,
    int across, int down, int threads) {
    std::vector<std::thread> warp;
    for (int lane = 0; lane < 32; lane++)
        warp.emplace_back([=] {
            blockDim = {threads, 1};
            for (int one = 0; one < across * down * (threads / 32); one++) {
                threadIdx = {lane + 32 * (one % (threads / 32)), 0};
                blockIdx = {one / (threads / 32) % across, one / (threads / 32) / across};
                near_bits(left, right, rows, columns, side, bits);
            }
        });
    for (auto& lane : warp) lane.join();
}
