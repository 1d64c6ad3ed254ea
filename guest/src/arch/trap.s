# Trap entry and exit. One path for both rings; only the first and the last few instructions differ.
#
# ring 0: every vector takes an interrupt gate onto a slot of the CPU's own area (an IST each for
#         exceptions and interrupts), because the red zone forbids pushing onto the interrupted stack.
# ring 3: the same slots, entered by a CPL0 stub of a few instructions (each about 1 us on software
#         KVM), which returns by a prebuilt iretq frame to the CPL3 half below ("upcall").
#
# The window is the code between the hardware's push and the moment the frame is copied below the
# interrupted stack's red zone. In it the slot must not be reused. Three rules see to that:
#  1. every stub raises the soft mask before it leaves, and it runs with interrupts off;
#  2. a maskable interrupt that finds the soft mask up records itself, is acknowledged and returns
#     inside its stub: it needs no slot beyond its own push, and no code after the stub;
#  3. an accepted interrupt moves its IST to the spare slot until its frame is copied (ring 3), or
#     keeps interrupts off until then (ring 0).
# Nothing in the window can fault, except a copy to a bad stack, which is tested for first.

    .section .text.entry, "ax", @progbits

# ---- stubs ----
# ring 3 leaves through the prebuilt frame at offset \frame of the slot, ring 0 jumps.
.macro LEAVE ring, have, frame, target
 .if \ring == 0
    jmp \target\()_r0
 .else
    subq $(\have - \frame), %rsp
    iretq
 .endif
.endm

.macro EXCEPTION ring, v, has_error
    .balign 16
exception_r\ring\()_\v:
 .if \has_error == 0
    pushq $0
 .endif
 .if \ring == 3
    testb $3, 16(%rsp)                  # a fault of CPL0 code has no slot of its own
    jz cpl0_fault
 .endif
    movq %rax, -8(%rsp)
    movq $\v, -24(%rsp)
    incl %gs:{SOFT}
    LEAVE \ring, {SLOT_ERROR}, {SLOT_UPCALL}, upcall_exception
.endm

.macro PAGE_FAULT ring
    .balign 16
exception_r\ring\()_14:
    movq %rax, -8(%rsp)
    movq %cr2, %rax
    movq %rax, -16(%rsp)
    incl %gs:{SOFT}
    LEAVE \ring, {SLOT_ERROR}, {SLOT_UPCALL_PF}, upcall_page_fault
.endm

# #DF and #MC keep off every other slot: whatever happened, the report must come out.
.macro FATAL ring, v, name, has_error
    .balign 16
exception_r\ring\()_\v:
 .if \has_error == 0
    pushq $0
 .endif
    movq %rax, -8(%rsp)
    incl %gs:{SOFT}
    LEAVE \ring, {SLOT_ERROR}, {SLOT_UPCALL}, upcall_\name
.endm

.macro NMI ring
    .balign 16
exception_r\ring\()_2:
    incl %gs:{NMI_COUNT}
    iretq
.endm

.macro INTERRUPT ring, n
    .balign 16
interrupt_r\ring\()_\n:
    orl $(1 << \n), %gs:{PENDING}
    movl $0, {LAPIC_EOI}
    cmpl $0, %gs:{SOFT}
    jne 1f
    incl %gs:{SOFT}
    movq %rax, -16(%rsp)
 .if \ring == 3
    subq ${SLOT_BYTES}, %gs:{TSS_IST_IRQ}
 .endif
    LEAVE \ring, {SLOT_FRAME}, {SLOT_UPCALL}, upcall_interrupt
1:  iretq
.endm

.macro STUBS ring
 NMI \ring
 .irp v, 0,1,4,5,6,7,9,15,16,19,20,22,23,24,25,26,27,28,31
    EXCEPTION \ring, \v, 0
 .endr
 .irp v, 10,11,12,13,17,21,29,30
    EXCEPTION \ring, \v, 1
 .endr
 PAGE_FAULT \ring
 FATAL \ring, 8, double_fault, 1
 FATAL \ring, 18, machine_check, 0
 .altmacro
 .set n, 0
 .rept 32
    INTERRUPT_N \ring, %n
    .set n, n + 1
 .endr
 .noaltmacro
.endm
.macro INTERRUPT_N ring, n
 INTERRUPT \ring, \n
.endm

    STUBS 0
    STUBS 3
    EXCEPTION 0, 3, 0
    .balign 16
spurious:
    iretq

# ring 3's int3 is the gate: the operation's address in %rax, see gate.s.
    .balign 16
exception_r3_3:
    cmpq $gate_return, (%rsp)
    jne breakpoint_r3
    jmpq *%rax
breakpoint_r3:
    pushq $0
    testb $3, 16(%rsp)
    jz cpl0_fault
    movq %rax, -8(%rsp)
    movq $3, -24(%rsp)
    incl %gs:{SOFT}
    LEAVE 3, {SLOT_ERROR}, {SLOT_UPCALL}, upcall_exception

# A fault inside a CPL0 stub or gate operation. Its frame lies below the one it interrupted: move it to
# the slot and report it. The saved stack pointer is no task's, so the report runs on the emergency stack.
    .balign 16
cpl0_fault:
    movq %rax, %gs:{EXC} + {SLOT_RAX}
    movq $255, %gs:{EXC} + {SLOT_VECTOR}
    popq %gs:{EXC} + {SLOT_ERROR}
    popq %gs:{EXC} + {SLOT_FRAME}
    popq %gs:{EXC} + {SLOT_FRAME} + 8
    popq %gs:{EXC} + {SLOT_FRAME} + 16
    popq %gs:{EXC} + {SLOT_FRAME} + 24
    incl %gs:{SOFT}
    movq %gs:0, %rsp
    addq $({EXC} + {SLOT_UPCALL}), %rsp
    iretq

# ---- the window ----
# In: all registers but %rax and %rsp as interrupted, interrupts off (ring 0) or masked (ring 3).
# Out: %rsp = TrapFrame below the red zone of the interrupted stack, slot free.
.macro WINDOW slot
    movq %gs:\slot + {SLOT_FRAME} + 24, %rax
    cmpq %gs:{STACK_LO}, %rax
    jb 2f
    cmpq %gs:{STACK_HI}, %rax
    ja 2f
    subq $(128 + {TF_BYTES}), %rax
    andq $-16, %rax
    movq $0, {TF_BAD_STACK}(%rax)
1:
    movq %rcx, {TF_RCX}(%rax)
    movq %rdx, {TF_RDX}(%rax)
    movq %rsi, {TF_RSI}(%rax)
    movq %rdi, {TF_RDI}(%rax)
    movq %r8, {TF_R8}(%rax)
    movq %r9, {TF_R9}(%rax)
    movq %r10, {TF_R10}(%rax)
    movq %r11, {TF_R11}(%rax)
    movq %rbx, {TF_RBX}(%rax)
    movq %rbp, {TF_RBP}(%rax)
    movq %r12, {TF_R12}(%rax)
    movq %r13, {TF_R13}(%rax)
    movq %r14, {TF_R14}(%rax)
    movq %r15, {TF_R15}(%rax)
    movq %gs:\slot + {SLOT_RAX}, %rcx
    movq %rcx, {TF_RAX}(%rax)
    movq %gs:\slot + {SLOT_FRAME}, %rcx
    movq %rcx, {TF_RIP}(%rax)
    movq %gs:\slot + {SLOT_FRAME} + 8, %rcx
    movq %rcx, {TF_RIP} + 8(%rax)
    movq %gs:\slot + {SLOT_FRAME} + 16, %rcx
    movq %rcx, {TF_RIP} + 16(%rax)
    movq %gs:\slot + {SLOT_FRAME} + 24, %rcx
    movq %rcx, {TF_RIP} + 24(%rax)
    movq %gs:\slot + {SLOT_FRAME} + 32, %rcx
    movq %rcx, {TF_RIP} + 32(%rax)
    .subsection 1
2:  movq %gs:{EMERGENCY_TOP}, %rax
    subq ${TF_BYTES}, %rax
    movq $1, {TF_BAD_STACK}(%rax)
    jmp 1b
    .previous
.endm

.macro UPCALL name, slot, ring, vector, handler
    .balign 16
upcall_\name\()_r\ring:
    WINDOW \slot
 .ifb \vector
    movq %gs:\slot + {SLOT_VECTOR}, %rcx
    movq %rcx, {TF_VECTOR}(%rax)
 .else
    movq $\vector, {TF_VECTOR}(%rax)
 .endif
    movq %gs:\slot + {SLOT_ERROR}, %rcx
    movq %rcx, {TF_ERROR}(%rax)
    movq %gs:\slot + {SLOT_CR2}, %rcx
    movq %rcx, {TF_CR2}(%rax)
    movq %rax, %rsp
 .ifc \name,interrupt
  .if \ring == 3
    addq ${SLOT_BYTES}, %gs:{TSS_IST_IRQ}
  .endif
 .endif
 .if \ring == 0
    testl $0x200, {TF_RIP} + 16(%rax)   # interrupts on again, if they were
    jz 3f
    sti
3:
 .endif
    cld
    xorl %ebp, %ebp                     # backtraces stop here and go on from the frame
    movq %rsp, %rdi
    subq $512, %rsp
    fxsave64 (%rsp)
    ldmxcsr default_mxcsr(%rip)
    call \handler
    jmp trap_exit
.endm

.macro UPCALLS ring
    UPCALL page_fault, {EXC}, \ring, 14, trap_dispatch
    UPCALL exception, {EXC}, \ring, , trap_dispatch
    UPCALL interrupt, {IRQ}, \ring, 0, interrupt_dispatch
    UPCALL double_fault, {DOUBLE_FAULT}, \ring, 8, trap_dispatch
    UPCALL machine_check, {MACHINE_CHECK}, \ring, 18, trap_dispatch
.endm
    UPCALLS 0
    UPCALLS 3

# ---- exit ----
# The mask falls before the last look at what is pending: an interrupt after that look is accepted and
# nests on this stack, one before it is replayed here. iretq restores %rsp without a change of ring.
    .balign 16
trap_exit:
    fxrstor64 (%rsp)
    decl %gs:{SOFT}
    jnz 1f
    cmpl $0, %gs:{PENDING}
    jne 2f
1:  addq $512, %rsp
    movq {TF_R15}(%rsp), %r15
    movq {TF_R14}(%rsp), %r14
    movq {TF_R13}(%rsp), %r13
    movq {TF_R12}(%rsp), %r12
    movq {TF_RBP}(%rsp), %rbp
    movq {TF_RBX}(%rsp), %rbx
    movq {TF_R11}(%rsp), %r11
    movq {TF_R10}(%rsp), %r10
    movq {TF_R9}(%rsp), %r9
    movq {TF_R8}(%rsp), %r8
    movq {TF_RDI}(%rsp), %rdi
    movq {TF_RSI}(%rsp), %rsi
    movq {TF_RDX}(%rsp), %rdx
    movq {TF_RCX}(%rsp), %rcx
    movq {TF_RAX}(%rsp), %rax
    addq ${TF_RIP}, %rsp
    .globl trap_iretq
trap_iretq:
    iretq
2:  incl %gs:{SOFT}
    leaq 512(%rsp), %rdi
    call interrupt_dispatch
    jmp trap_exit

    .section .rodata.trap, "a", @progbits
    .balign 4
default_mxcsr:
    .long 0x1f80

# Where each vector enters, by ring; Rust builds the IDT and the prebuilt frames from these.
    .balign 8
    .globl exception_stubs_r0, exception_stubs_r3, interrupt_stubs_r0, interrupt_stubs_r3
    .globl spurious_stub, upcall_table
.macro TABLE ring
exception_stubs_r\ring:
 .irp v, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .quad exception_r\ring\()_\v
 .endr
interrupt_stubs_r\ring:
 .irp v, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .quad interrupt_r\ring\()_\v
 .endr
.endm
    TABLE 0
    TABLE 3
spurious_stub:
    .quad spurious
upcall_table:
    .quad upcall_exception_r3, upcall_page_fault_r3, upcall_interrupt_r3
    .quad upcall_double_fault_r3, upcall_machine_check_r3
    .text
