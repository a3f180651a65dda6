/* Wine 8 has no bcryptprimitives.dll, of which Rust's standard library needs only this function. */
#include <windows.h>

BOOLEAN WINAPI SystemFunction036(PVOID into, ULONG length); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE into, SIZE_T length) {
    return SystemFunction036(into, (ULONG)length);
}
