"""Compiled boundary overlap of pairs of masks (public names: `pipeline.masks.boundary`)."""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import inlined, kernel


@inlined
def paint(counts_R, first, last, height, x0, y0, window_h, pixels_B):
    """Write a mask into a window of whole columns, column by column; 0 or 1 a pixel."""
    place = np.int64(0)
    for r in range(first, last):
        stop = place + counts_R[r]
        if (r - first) % 2 == 1:
            while place < stop:
                x = place // height
                y = place - x * height
                n = min(stop - place, height - y)
                start = (x - x0) * window_h + y - y0
                pixels_B[start : start + n] = 1
                place += n
        place = stop


@inlined
def erode_lines(from_B, to_B, n_lines, length, line_step, step, d):
    """Keep the pixels of lines that have d more on both sides of them."""
    for line in range(n_lines):
        start = line * line_step
        run = np.int64(0)
        for k in range(length + d):
            if k < length:
                run = run + 1 if from_B[start + k * step] else np.int64(0)
            else:
                run = np.int64(0)
            # A pixel d back is kept where the run that ends here reaches d beyond it.
            if k >= d and k - d < length:
                to_B[start + (k - d) * step] = run > 2 * d


@inlined
def erode(pixels_B, work_B, out_B, window_w, window_h, d):
    """Erode by a square of 2 d + 1 pixels; what lies outside of the window is background."""
    erode_lines(pixels_B, work_B, window_w, window_h, window_h, 1, d)
    erode_lines(work_B, out_B, window_h, window_w, 1, window_h, d)


@kernel
def boundary_pairs(
    counts_a_R, offsets_a_N1, counts_b_R, offsets_b_N1, size_hw_N2, box_xyxy_N4, d_N, room_4B, iou_N
):
    """Fill in the boundary IoU of each pair; `room_4B` holds the largest window four times."""
    a_B, b_B, work_B, out_B = room_4B[0], room_4B[1], room_4B[2], room_4B[3]
    for n in range(len(iou_N)):
        height = np.int64(size_hw_N2[n, 0])
        x0, y0 = box_xyxy_N4[n, 0], box_xyxy_N4[n, 1]
        window_w, window_h = box_xyxy_N4[n, 2] - x0, box_xyxy_N4[n, 3] - y0
        n_pixels = window_w * window_h
        a_B[:n_pixels] = 0
        b_B[:n_pixels] = 0
        paint(counts_a_R, offsets_a_N1[n], offsets_a_N1[n + 1], height, x0, y0, window_h, a_B)
        paint(counts_b_R, offsets_b_N1[n], offsets_b_N1[n + 1], height, x0, y0, window_h, b_B)
        # Worth the passes only where a square of 2 d + 1 fits in.
        if min(window_w, window_h) > 2 * d_N[n]:
            erode(a_B, work_B, out_B, window_w, window_h, d_N[n])
            for k in range(n_pixels):
                a_B[k] &= out_B[k] ^ 1
            erode(b_B, work_B, out_B, window_w, window_h, d_N[n])
            for k in range(n_pixels):
                b_B[k] &= out_B[k] ^ 1
        shared = np.int64(0)
        union = np.int64(0)
        for k in range(n_pixels):
            shared += a_B[k] & b_B[k]
            union += a_B[k] | b_B[k]
        iou_N[n] = shared / union if union else 1.0
