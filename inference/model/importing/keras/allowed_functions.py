"""The functions that a Keras file may name: activations and losses of Keras, and TensorFlow's functions of op layers.

All compute tensors from tensors and take no function, no file name and no name of a class as an argument.
"""

_KERAS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy categorical_crossentropy
    categorical_focal_crossentropy categorical_hinge cosine_similarity hinge huber kl_divergence log_cosh
    mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
    sparse_categorical_accuracy sparse_categorical_crossentropy squared_hinge top_k_categorical_accuracy
    mae mape mse msle
"""

# The functions of each module of TensorFlow, by the names that Keras 2 records.
_TENSORFLOW = {
    "": """
        abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast boolean_mask
        broadcast_to cast clip_by_global_norm clip_by_norm clip_by_value complex concat constant convert_to_tensor cos
        cosh cumsum divide eig eigvals einsum ensure_shape equal exp expand_dims eye fill floor gather gather_nd greater
        greater_equal identity identity_n less less_equal linspace logical_and logical_not logical_or matmul maximum
        meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all
        reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse
        reverse_sequence roll round saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid
        sign sin sinh size slice sort space_to_batch space_to_batch_nd split sqrt square squeeze stack stop_gradient
        strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min
        tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod unique
        unique_with_counts unravel_index unstack where zeros zeros_like
        div floor_div floordiv log log1p mod rsqrt squared_difference reciprocal to_float to_int32
    """,
    "__operators__": "add div eq floordiv ge getitem gt le lt matmul mod mul ne neg pow sub truediv",
    "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop convert_image_dtype
        crop_and_resize crop_to_bounding_box extract_glimpse extract_patches flip_left_right flip_up_down
        grayscale_to_rgb hsv_to_rgb image_gradients pad_to_bounding_box per_image_standardization psnr random_brightness
        random_contrast random_crop random_flip_left_right random_flip_up_down random_hue random_saturation resize
        resize_bicubic resize_bilinear resize_images resize_nearest_neighbor resize_with_crop_or_pad resize_with_pad
        rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sobel_edges ssim ssim_multiscale
        stateless_random_brightness stateless_random_contrast stateless_random_crop stateless_random_flip_left_right
        stateless_random_flip_up_down stateless_random_hue stateless_random_saturation total_variation transpose
        yiq_to_rgb yuv_to_rgb
    """,
    "linalg": """
        adjoint band_part cholesky cholesky_solve cross det diag diag_part eigh eigvalsh einsum expm eye global_norm inv
        l2_normalize logdet logm lstsq lu lu_solve matmul matrix_rank matrix_transpose matvec norm normalize pinv qr
        set_diag slogdet solve sqrtm svd tensor_diag tensor_diag_part tensordot trace triangular_solve
        tridiagonal_matmul tridiagonal_solve
    """,
    "math": """
        abs accumulate_n acos acosh add add_n angle argmax argmin asin asinh atan atan2 atanh betainc bincount ceil conj
        cos cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf erfc erfcinv
        erfinv exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag in_top_k invert_permutation
        is_finite is_inf is_nan l2_normalize lbeta less less_equal lgamma log log1p log_sigmoid log_softmax logical_and
        logical_not logical_or logical_xor maximum minimum mod multiply multiply_no_nan ndtri negative nextafter
        not_equal polygamma pow real reciprocal reciprocal_no_nan reduce_all reduce_any reduce_euclidean_norm
        reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint round
        rsqrt scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid sign sin sinh softmax
        softplus softsign sqrt square squared_difference subtract tan tanh top_k truediv unsorted_segment_max
        unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum
        xdivy xlog1py xlogy zero_fraction zeta
    """,
    "nn": """
        atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d avg_pool3d batch_normalization bias_add
        conv1d conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu
        depth_to_space depthwise_conv2d depthwise_conv2d_native dilation2d dropout elu embedding_lookup erosion2d
        fused_batch_norm gelu in_top_k l2_loss l2_normalize leaky_relu local_response_normalization log_softmax lrn
        max_pool max_pool1d max_pool2d max_pool3d max_pool_with_argmax moments pool relu relu6 selu separable_conv2d
        sigmoid silu softmax softplus softsign space_to_batch space_to_depth swish tanh top_k weighted_moments
        zero_fraction
    """,
    "signal": """
        dct fft fft2d fft3d fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d ifftshift inverse_stft
        irfft irfft2d irfft3d overlap_and_add rfft rfft2d rfft3d stft
    """,
    "keras.activations": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish tanh
    """,
    "keras.backend": """
        abs all any argmax argmin batch_dot batch_flatten batch_normalization bias_add cast clip concatenate constant
        conv1d conv2d conv2d_transpose conv3d cos cumprod cumsum depthwise_conv2d dot dropout elu equal exp expand_dims
        flatten gather greater greater_equal hard_sigmoid l2_normalize less less_equal log max maximum mean min minimum
        not_equal one_hot ones_like permute_dimensions pool2d pool3d pow prod relu repeat repeat_elements reshape
        resize_images reverse round separable_conv2d shape sigmoid sign sin softmax softplus softsign
        spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std stop_gradient sum tanh temporal_padding tile
        transpose var zeros_like
    """,
}

TENSORFLOW_FUNCTIONS = frozenset(
    f"{module}.{name}".removeprefix(".") for module, names in _TENSORFLOW.items() for name in names.split()
)

KERAS_FUNCTIONS = frozenset(_KERAS.split())
