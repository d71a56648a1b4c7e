/* Fidelity: CUSTOM
 * Constants that the kernel patches into its code are read as variables. */
#ifndef NH_ASM_RUNTIME_CONST_H
#define NH_ASM_RUNTIME_CONST_H
#define runtime_const_ptr(symbol) (symbol)
#define runtime_const_shift_right_32(value, symbol) ((u32)(value) >> (symbol))
#define runtime_const_init(type, symbol) do { } while (0)
#endif
