// A kernel's text on cores: the 32 lanes of a warp take turns, and what they do together is done by hand.
//
// Built with -DKERNEL='"...cu"'. What mma.sync.aligned.m16n8k16 wants of which lane is from the PTX manual, "Matrix
// Fragments for mma.m16n8k16 with floating point type".

#include <ucontext.h>

#include <cstring>
#include <functional>

struct uint4 {
    unsigned x, y, z, w;
};
struct Place {
    int x, y;
};
static Place threadIdx, blockIdx, blockDim;
static ucontext_t outside, lanes[32];
static int now;  // whose turn it is
static unsigned left_parts[32][4], right_parts[32][2], votes[32];

static void wait_for_all() {  // a round of turns: all have come so far
    const int before = now;
    now = (now + 1) % 32;
    swapcontext(&lanes[before], &lanes[now]);
}

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
    const int lane = now;
    const unsigned a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
    std::memcpy(left_parts[lane], a, sizeof a);
    std::memcpy(right_parts[lane], b, sizeof b);
    wait_for_all();
    for (int one = 0; one < 4; one++)
        for (int k = 0; k < 16; k++)
            sums[one] += left_value(lane / 4 + one / 2 * 8, k) * right_value(k, lane % 4 * 2 + one % 2);
    wait_for_all();
}

static unsigned __ballot_sync(unsigned, bool vote) {
    votes[now] = vote;
    wait_for_all();
    unsigned all = 0;
    for (int lane = 0; lane < 32; lane++) all |= votes[lane] << lane;
    wait_for_all();
    return all;
}

#define __device__
#define __forceinline__ inline
#define __global__
#define asm(...) multiply_here(sums, a0, a1, a2, a3, b0, b1)
#include KERNEL

static std::function<void()> body;
static int first_thread;
static char stacks[32][1 << 16];

static void one_lane() {
    threadIdx = {first_thread + now, 0};
    body();
    now++;
}

static void one_warp() {
    for (int lane = 0; lane < 32; lane++) {
        getcontext(&lanes[lane]);
        lanes[lane].uc_stack.ss_sp = stacks[lane];
        lanes[lane].uc_stack.ss_size = sizeof stacks[lane];
        lanes[lane].uc_link = lane < 31 ? &lanes[lane + 1] : &outside;
        makecontext(&lanes[lane], one_lane, 0);
    }
    now = 0;
    swapcontext(&outside, &lanes[0]);
}

extern "C" void on_cores(
    const uint4* left, const uint4* right, const long long* rows, const long long* columns, int side, uint4* bits,
    int across, int down, int threads) {
    blockDim = {threads, 1};
    body = [=] { near_bits(left, right, rows, columns, side, bits); };
    for (blockIdx.y = 0; blockIdx.y < down; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < across; blockIdx.x++)
            for (first_thread = 0; first_thread < threads; first_thread += 32) one_warp();
}
