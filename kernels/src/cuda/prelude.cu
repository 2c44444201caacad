// What makes the kernels CUDA. For a CPU, tests put other definitions in its place.
#define DEVICE static __device__ __forceinline__
#define CALLED static __device__ __noinline__
#define KERNEL(name, Arguments) extern "C" __global__ void __launch_bounds__(256) name(const struct Arguments a)
#define SHARED(type, name, count) __shared__ __align__(16) type name[count];
#define ALIGNED __align__(16)
#define ALIGNED_8 __align__(8)
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define UNROLL_4 _Pragma("unroll 4")
#define HALF unsigned short
DEVICE HALF to_half(float x) {
    HALF half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
}
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

