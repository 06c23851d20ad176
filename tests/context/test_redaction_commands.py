"""The command lines of ordinary training scripts lose nothing: as their projects document them, and with names to trip over."""

# ruff: noqa: E501 - a command line reads best as one line
from __future__ import annotations

import shlex

import pytest

from runcontext.redaction import redact_args, redact_text

# Repository and file on GitHub, and the command lines that it shows, some options left out.
DOCUMENTED: dict[str, list[str]] = {
    "AI-Hypercomputer/maxtext, docs/guides/data_input_pipeline/olmo_grain.md": [
        "python tools/data_generation/build_olmo_npy_index.py --mix-file /path/to/OLMo-mix-0925-official.txt --gcs-base gs://my-bucket/dataset/ --tokenizer allenai/dolma3-tokenizer",
    ],
    "AI-Hypercomputer/maxtext, docs/guides/optimization/benchmark_and_performance.md": [
        "python -m maxtext.utils.estimator compile_topology=tpu7x-1024 compile_topology_num_slices=1 model_name=llama3.1-405b max_target_length=32768 ici_context_parallelism=8",
    ],
    "AI-Hypercomputer/maxtext, tests/end_to_end/test_jdi.sh": [
        "python3 -c 'import jax; jax.distributed.initialize();'",
    ],
    "AI-Hypercomputer/maxtext, tests/end_to_end/tpu/deepseek/Run_DeepSeek.md": [
        "python3 -m tests.assets.logits_generation.generate_hf_golden_logits --model-id=deepseek-ai/DeepSeek-V2-Lite --output-path=golden_DeepSeek-V2-Lite.jsonl",
    ],
    "dmlc/xgboost, doc/contrib/unit_tests.rst": [
        "python ./ops/script/test_r_package.py --task=check",
    ],
    "dmlc/xgboost, ops/pipeline/test-python-wheel.sh": [
        "python -c 'from cupy.cuda import jitify; jitify._init_module()'",
    ],
    "EleutherAI/lm-evaluation-harness, docs/config_files.md": [
        "lm-eval run --model hf --model_args pretrained=gpt2,dtype=float32 --tasks hellaswag arc_easy --device cuda:0",
    ],
    "EleutherAI/lm-evaluation-harness, docs/interface.md": [
        "lm-eval run --model hf --model_args pretrained=Qwen/Qwen3-32B,enable_thinking=True,think_end_token=200008 --tasks gsm8k --apply_chat_template",
    ],
    "EleutherAI/lm-evaluation-harness, lm_eval/tasks/jsonschema_bench/README.md": [
        "lm_eval --model hf --gen_kwargs max_new_tokens=1024 --model_args pretrained=meta-llama/Llama-3.2-1B-Instruct,parallelize=True --tasks jsonschema_bench_medium",
    ],
    "EleutherAI/lm-evaluation-harness, README.md": [
        "lm_eval --model megatron_lm --model_args load=/path/to/checkpoint,tokenizer_type=HuggingFaceTokenizer,tokenizer_model=/path/to/tokenizer --tasks hellaswag --batch_size 1",
        "torchrun --nproc-per-node=4 -m lm_eval --model megatron_lm --model_args load=/path/to/checkpoint,tokenizer_model=/path/to/tokenizer,devices=4 --tasks hellaswag",
    ],
    "facebookresearch/detectron2, docs/notes/benchmarks.md": [
        "python -m torch.distributed.launch --nproc_per_node=8 tools/train_net.py --config-file configs/e2e_mask_rcnn_R_50_FPN_1x.yaml",
    ],
    "facebookresearch/detectron2, INSTALL.md": [
        "python -c 'import torch; from torch.utils.cpp_extension import CUDA_HOME; print(torch.cuda.is_available(), CUDA_HOME)'",
    ],
    "facebookresearch/detectron2, projects/DensePose/doc/TOOL_APPLY_NET.md": [
        "python apply_net.py show configs/cse/densepose_rcnn_R_50_FPN_s1x.yaml https://dl.fbaipublicfiles.com/densepose/cse/densepose_rcnn_R_50_FPN_s1x/251155172/model_final_c4ea5f.pkl",
    ],
    "facebookresearch/detectron2, projects/DensePose/doc/TOOL_QUERY_DB.md": [
        "python query_db.py show densepose_coco_2014_train image_id:int=322 bbox,dp_segm -v",
    ],
    "facebookresearch/fairseq, examples/adaptive_span/README.md": [
        "fairseq-eval-lm '~/data/enwik8/data-bin/' --path model/checkpoint_best.pt --user-dir examples/truncated_bptt/ --task truncated_bptt_lm --tokens-per-sample 80",
    ],
    "facebookresearch/fairseq, examples/cross_lingual_language_model/README.md": [
        "fairseq-train --task cross_lingual_lm monolingual_data/fairseq_processed --max-tokens 2048 --tokens-per-sample 256 --monolingual-langs ar,de,en,hi,fr --ddp-backend=legacy_ddp",
    ],
    "facebookresearch/fairseq, examples/MMPT/DATASET.md": [
        "python scripts/text_token_extractor/pretokenization.py scripts/text_token_extractor/configs/bert-base-uncased.yaml",
    ],
    "facebookresearch/fairseq, examples/textless_nlp/gslm/ulm/README.md": [
        "fairseq-train data-bin/ --task=language_modeling --arch=transformer_lm_big --dropout=0.1 '--adam-betas=(0.9, 0.98)' --tokens-per-sample=3072 --max-tokens=4096",
    ],
    "facebookresearch/fairseq, examples/translation/README.md": [
        "CUDA_VISIBLE_DEVICES=0 fairseq-train data-bin/iwslt17.de_fr.en.bpe16k/ --max-epoch 50 --ddp-backend=legacy_ddp --lang-pairs de-en,fr-en --adam-betas '(0.9, 0.98)' --max-tokens 4000",
    ],
    "facebookresearch/fairseq, examples/translation_moe/README.md": [
        "fairseq-train --ddp-backend=legacy_ddp data-bin/wmt17_en_de --max-update 100000 --task translation_moe --user-dir examples/translation_moe/translation_moe_src --adam-betas '(0.9, 0.98)'",
    ],
    "facebookresearch/fairseq, examples/truncated_bptt/README.md": [
        "fairseq-eval-lm data-bin/wikitext-103/ --path checkpoints/checkpoint_best.pt --user-dir examples/truncated_bptt/ --task truncated_bptt_lm --tokens-per-sample 64",
    ],
    "facebookresearch/hydra, docs/design/hydra-for-agents.md": [
        "python app.py --cfg job --resolve model=resnet trainer.max_epochs=10",
    ],
    "facebookresearch/hydra, website/blog/2020-09-03-Hydra_1.0.md": [
        "python my_app.py '+db.params={a:10,b:20}'",
    ],
    "facebookresearch/hydra, website/docs/plugins/ax_sweeper.md": [
        "python example/banana.py -m 'banana.x=int(interval(-5, 5))' 'banana.y=interval(-5, 10.1)'",
    ],
    "facebookresearch/hydra, website/docs/plugins/nevergrad_sweeper.md": [
        "python example/my_app.py --multirun db=mnist,cifar batch_size=4,8,16 'lr=tag(log, interval(0.001, 1))' 'dropout=interval(0,1)'",
    ],
    "facebookresearch/hydra, website/docs/plugins/optuna_sweeper.md": [
        "python example/sphere.py --multirun 'x=interval(-5.0, 5.0)' 'y=interval(0, 10)'",
    ],
    "google/flax, benchmarks/README.md": [
        "python -m cProfile -o '~/tmp/overhead.prof' benchmarks/nnx_graph_overhead.py --mode=nnx --depth=100 --total_steps=1000",
    ],
    "google/flax, benchmarks/tracing/README.md": [
        "python tracing_benchmark.py --example=wmt",
    ],
    "google/flax, examples/gemma/README.md": [
        "python -c 'import tensorflow_datasets as tfds; b=tfds.builder('\"'\"'lm1b'\"'\"'); print(b.info.data_dir)'",
    ],
    "google/flax, examples/imagenet/README.md": [
        "python main.py --workdir=./imagenet --config=configs/default.py",
    ],
    "google/flax, examples/nlp_seq/README.md": [
        "python train.py --batch_size=64 --model_dir=./ancient_greek --dev=ud-treebanks-v2.0/UD_Ancient_Greek/grc-ud-dev.conllu --train=ud-treebanks-v2.0/UD_Ancient_Greek/grc-ud-train.conllu",
    ],
    "google/flax, examples/ppo/README.md": [
        "python ppo_main.py --config=configs/default.py --workdir=/my_fav_directory",
    ],
    "horovod/horovod, docs/benchmarks.rst": [
        "horovodrun -np 16 -H server1:4,server2:4,server3:4,server4:4 python scripts/tf_cnn_benchmarks/tf_cnn_benchmarks.py --model resnet101 --batch_size 64 --variable_update horovod",
    ],
    "horovod/horovod, docs/lsf.rst": [
        "horovodrun --mpi-args=-gpu python train.py",
    ],
    "horovod/horovod, docs/mpi.rst": [
        "mpirun -np 16 -H server1:4,server2:4,server3:4,server4:4 -bind-to none -map-by slot -x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH -mca pml ob1 -mca btl '^openib' python train.py",
    ],
    "horovod/horovod, docs/troubleshooting.rst": [
        "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libhwloc.so python -c 'import horovod.tensorflow as hvd; hvd.init()'",
    ],
    "horovod/horovod, README.rst": [
        "horovodrun -np 16 -H server1:4,server2:4,server3:4,server4:4 python train.py",
        "horovodrun --gloo -np 2 python train.py",
    ],
    "huggingface/accelerate, docs/source/basic_tutorials/install.md": [
        "python -c 'from accelerate.utils import write_basic_config; write_basic_config(mixed_precision='\"'\"'fp16'\"'\"')'",
    ],
    "huggingface/accelerate, docs/source/usage_guides/deepspeed.md": [
        "accelerate launch examples/by_feature/deepspeed_with_config_support.py --config_name gpt2-large --tokenizer_name gpt2-large --dataset_name wikitext --dataset_config_name wikitext-2-raw-v1",
    ],
    "huggingface/accelerate, docs/source/usage_guides/megatron_lm.md": [
        "python checkpoint_reshaping_and_interoperability.py --convert_checkpoint_from_megatron_to_transformers --load_path gpt/iter_0005000 --save_path gpt/trfs_checkpoint --max_shard_size 200MB",
    ],
    "huggingface/diffusers, .ai/skills/diffusers-cli/run.md": [
        'torchrun --nproc-per-node=2 -m diffusers.commands.diffusers_cli run --model black-forest-labs/FLUX.2-klein-9B --pipeline-kwargs \'{"prompt": "Make the cats fur grey"}\' --dtype bf16',
    ],
    "huggingface/diffusers, docs/source/en/optimization/xdit.md": [
        "torchrun --nproc_per_node=8 ./inference.py --model models/FLUX.1-dev --data_parallel_degree 2 --ulysses_degree 2 --ring_degree 2 --prompt 'A snowy mountain' 'A small dog'",
    ],
    "huggingface/diffusers, docs/source/en/training/controlnet.md": [
        "accelerate launch train_controlnet.py --mixed_precision=fp16",
    ],
    "huggingface/diffusers, docs/source/en/training/nemo_automodel.md": [
        "python examples/diffusion/generate/generate.py -c examples/diffusion/generate/configs/generate_wan.yaml --model.checkpoint ./checkpoints/step_1000",
    ],
    "huggingface/diffusers, examples/advanced_diffusion_training/README.md": [
        "accelerate launch train_dreambooth_b-lora_sdxl.py --pretrained_model_name_or_path=stabilityai/stable-diffusion-xl-base-1.0 --instance_data_dir=linoyts/B-LoRA_teddy_bear --resolution=1024",
    ],
    "huggingface/diffusers, examples/cosmos3/README.md": [
        "python examples/cosmos3/inference_cosmos3.py --prompt 'A robotic arm finishes pouring liquid into the glass.' --condition-frame-indexes-vision 0,1 --condition-video-keep first",
    ],
    "huggingface/pytorch-image-models, hfdocs/source/installation.mdx": [
        "python -c 'from timm import list_models; print(list_models(pretrained=True)[:5])'",
    ],
    "huggingface/pytorch-image-models, hfdocs/source/training_script.mdx": [
        "./distributed_train.sh 4 --data-dir /data/imagenet --model seresnet34 --sched cosine --epochs 150 --warmup-epochs 5",
        "python validate.py --data-dir /imagenet/validation/ --model seresnext26_32x4d --pretrained",
        "python inference.py --data-dir /imagenet/validation/ --model mobilenetv3_large_100 --checkpoint ./output/train/model_best.pth.tar",
        "./distributed_train.sh 2 --data-dir /imagenet/ --model efficientnet_b2 -b 128 --sched step --epochs 450",
    ],
    "huggingface/transformers, examples/pytorch/language-modeling/README.md": [
        "python run_clm.py --model_name_or_path gpt2 --dataset_name wikitext --dataset_config_name wikitext-2-raw-v1 --per_device_train_batch_size 8 --do_train --do_eval",
        "accelerate launch run_clm_no_trainer.py --dataset_name wikitext --dataset_config_name wikitext-2-raw-v1 --model_name_or_path gpt2",
        "python run_mlm.py --model_name_or_path roberta-base --train_file path_to_train_file --validation_file path_to_validation_file --do_train",
        "python run_plm.py --model_name_or_path=xlnet-base-cased --dataset_name wikitext --per_device_eval_batch_size 8 --output_dir /tmp/test-plm",
        "python run_clm.py --model_type gpt2 --tokenizer_name gpt2 --config_overrides=n_embd=1024,n_head=16,n_layer=48,n_positions=102",
    ],
    "karpathy/nanoGPT, README.md": [
        "python sample.py --init_from=gpt2-xl '--start=What is the answer to life, the universe, and everything?' --num_samples=5 --max_new_tokens=100",
        "python train.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64",
        "torchrun --standalone --nproc_per_node=8 train.py config/train_gpt2.py",
    ],
    "Lightning-AI/pytorch-lightning, docs/source-fabric/fundamentals/launch.rst": [
        "fabric run ./path/to/train.py --strategy=ddp --devices=8 --accelerator=cuda --precision=bf16",
    ],
    "Lightning-AI/pytorch-lightning, docs/source-pytorch/accelerators/gpu_intermediate.rst": [
        "MASTER_ADDR=localhost 'MASTER_PORT=random()' WORLD_SIZE=3 NODE_RANK=0 LOCAL_RANK=0 python my_file.py --accelerator gpu --devices 3 --etc",
    ],
    "Lightning-AI/pytorch-lightning, docs/source-pytorch/advanced/model_parallel/deepspeed.rst": [
        "python train.py --strategy deepspeed_stage_2 --precision 16 --accelerator gpu --devices 4",
        "PL_DEEPSPEED_CONFIG_PATH=/path/to/deepspeed_config.json python train.py --strategy deepspeed",
    ],
    "Lightning-AI/pytorch-lightning, docs/source-pytorch/cli/lightning_cli_intermediate.rst": [
        "python main.py fit --model.out_dim 2 --model.learning_rate 0.1 --data.data_dir '~/' --trainer.logger False",
    ],
    "Lightning-AI/pytorch-lightning, docs/source-pytorch/tuning/profiler_intermediate.rst": [
        "python -c 'import torch; print(torch.autograd.profiler.load_nvprof(\"trace_name.prof\"))'",
    ],
    "lm-sys/FastChat, docs/lightllm_integration.md": [
        "python3 -m fastchat.serve.lightllm_worker --model-path lmsys/vicuna-7b-v1.5 --tokenizer_mode auto --max_total_token_num 154000",
    ],
    "lm-sys/FastChat, tests/README.md": [
        "CUDA_VISIBLE_DEVICES=0,1 python3 -m fastchat.serve.model_worker --model-path '~/model_weights/koala-13b' --num-gpus 2 --port 30000 --worker http://localhost:30000",
    ],
    "microsoft/DeepSpeedExamples, benchmarks/communication/README.md": [
        "srun -n 16 python all_reduce.py --scan --dist=torch",
    ],
    "microsoft/DeepSpeedExamples, benchmarks/inference/deepspeedometer/run_example.sh": [
        "python -m src.deepspeedometer.benchmark_runner --model facebook/opt-125m --api dummy --config_file ./configs/1300-120.yaml",
    ],
    "microsoft/DeepSpeedExamples, benchmarks/inference/mii/run_all.sh": [
        "python ./run_benchmark.py --model mistralai/Mixtral-8x7B-v0.1 --stream --tp_size 4 --mean_prompt_length 500 --mean_max_new_tokens 150 500 1024",
    ],
    "microsoft/DeepSpeedExamples, compression/cifar/run_compress.sh": [
        "python -m torch.distributed.launch --nproc_per_node=1 --master_port 6665 train.py --deepspeed_config config/ds_config.json --deepspeed --batch-norm --epochs 10",
    ],
    "microsoft/DeepSpeedExamples, evaluation/inference/human_eval/README.md": [
        "python run_human_eval.py --model codellama/CodeLlama-7b-Python-hf --max-tokens 512 --num-samples-per-task 20",
    ],
    "microsoft/DeepSpeedExamples, inference/mii/non-persistent/README.md": [
        "python pipeline.py --model mistralai/Mistral-7B-v0.1 --max-new-tokens 128 --prompts 'DeepSpeed is' 'Seattle is'",
    ],
    "microsoft/DeepSpeedExamples, inference/mii/persistent/README.md": [
        "python client.py --model mistralai/Mistral-7B-v0.1 --max-new-tokens 128 --prompts 'DeepSpeed is' 'Seattle is'",
    ],
    "mlfoundations/open_clip, docs/script_examples/clipa/vit_b16/i50_t16_finetune.sh": [
        "torchrun --nproc_per_node 8 -m open_clip_train.main --save-frequency 1 --save-most-recent --zeroshot-frequency 1 'scale=(0.4, 1.0)'",
    ],
    "mlfoundations/open_clip, README.md": [
        "srun --cpu_bind=v --accel-bind=gn python -u src/open_clip_train/main.py --save-frequency 1 '--train-data=/data/LAION-400M/{00000..41455}.tar' --batch-size=256 --epochs=32 --workers=8",
        "python -m open_clip_train.main --train-data=/path/to/train_data.csv --val-data=/path/to/validation_data.csv --resume /path/to/checkpoints/epoch_K.pt",
        "python -m open_clip_train.main --dataset-type csv --train-data path/to/data/dir/train2014.csv --warmup 1000 --batch-size 128 --lr 1e-5",
        "python tests/util_test.py --model RN50 RN101 --save_model_list models.txt --git_revision 9d31b2ec4df6d8228f370ff20c8267ec6ba39383",
    ],
    "mlfoundations/open_clip, scripts/clipav2_vit_h14_i84_224_336_cl32_gap_datacomp1b.sh": [
        "CUDA_VISIBLE_DEVICES=1 python3 -m open_clip_train.main --model ViT-H-14-CL32-GAP-BigVision --pretrained /path/to/vit_h14_i84_224_336_cl32_gap_datacomp1b.pt --force-image-size 336",
    ],
    "NVIDIA/Megatron-LM, docs/get-started/quickstart.md": [
        "python tools/preprocess_data.py --input data.jsonl --output-prefix processed_data --tokenizer-type HuggingFaceTokenizer --tokenizer-model /path/to/tokenizer.model --workers 8",
        "torchrun --nproc_per_node=2 examples/run_simple_mcore_train_loop.py",
    ],
    "NVIDIA/Megatron-LM, docs/user-guide/data-preparation.md": [
        "python tools/preprocess_data_fast.py --input data.jsonl --output-prefix processed_data --tokenizer-type HuggingFaceTokenizer --tokenizer-model /path/to/tokenizer.model --use-gigatoken",
    ],
    "NVIDIA/Megatron-LM, docs/user-guide/training-examples.md": [
        "torchrun --nproc_per_node=8 pretrain_gpt.py --tensor-model-parallel-size 1 --pipeline-model-parallel-size 1 --num-layers 32 --hidden-size 4096 --split 949,50,1",
    ],
    "NVIDIA/Megatron-LM, examples/export/trtllm_export/README.md": [
        "CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc-per-node 2 examples/export/trtllm_export/distributed_export/gpt_distributed_gpu_export.py",
    ],
    "NVIDIA/Megatron-LM, examples/megatron_fsdp/README.md": [
        "bash examples/megatron_fsdp/train_llama3_8b_fsdp_h100_fp8.sh checkpoints/llama3_8b_fsdp_fp8 /path/to/data_prefix /path/to/tokenizer nsys_profiles/llama3_8b_fsdp_fp8",
    ],
    "NVlabs/stylegan3, README.md": [
        "python train.py '--outdir=~/training-runs' --cfg=stylegan3-r '--data=~/datasets/metfacesu-1024x1024.zip' --gpus=8",
        "python calc_metrics.py --metrics=eqt50k_int,eqr50k '--network=~/training-runs/00000-stylegan3-r-mydataset/network-snapshot-000000.pkl'",
        "python gen_images.py --outdir=out --trunc=1 --seeds=2 --network=https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/stylegan3-r-afhqv2-512x512.pkl",
        "python gen_video.py --output=lerp.mp4 --trunc=1 --seeds=0-31 --grid=4x2",
        "python dataset_tool.py --source=/tmp/images1024x1024 '--dest=~/datasets/ffhq-1024x1024.zip'",
    ],
    "open-mmlab/mmdetection, docs/en/user_guides/train.md": [
        "python tools/train.py configs/balloon/mask-rcnn_r50-caffe_fpn_ms-poly-1x_balloon.py --auto-scale-lr",
        "CUDA_VISIBLE_DEVICES=0,1,2,3 PORT=29500 ./tools/dist_train.sh configs/balloon.py 4",
        "GPUS=16 ./tools/slurm_train.sh dev mask_r50_1x configs/mask-rcnn_r50_fpn_1x_coco.py /nfs/mask_rcnn_r50_fpn_1x",
        "NNODES=2 NODE_RANK=0 PORT=29500 MASTER_ADDR=$MASTER_ADDR sh tools/dist_train.sh $CONFIG $GPUS",
        "GPUS=4 ./tools/slurm_train.sh dev job config1.py work --cfg-options dist_params.port=29500",
    ],
    "pytorch/torchtune, docs/source/basics/custom_components.rst": [
        "tune download meta-llama/Llama-3.2-1B-Instruct --output-dir /tmp/Llama-3.2-1B-Instruct --ignore-patterns original/consolidated.00.pth",
        "tune cp qwen2/0.5B_full_single_device '~/my_project/config/qwen_config.yaml'",
    ],
    "pytorch/torchtune, docs/source/basics/packing.rst": [
        "tune run full_finetune_single_device --config llama3_2/1B_full_single_device dataset.packed=True tokenizer.max_seq_len=8192",
    ],
    "pytorch/torchtune, docs/source/tune_cli.rst": [
        "tune validate my_configs/llama3/8B_full.yaml",
    ],
    "pytorch/torchtune, README.md": [
        "tune run lora_finetune_single_device dataset.packed=True compile=True loss=torchtune.modules.loss.CEWithChunkedOutputLoss enable_activation_checkpointing=True tokenizer.max_seq_len=4096",
    ],
    "ultralytics/yolov5, README.md": [
        "python detect.py --weights yolov5s.pt --source https://youtu.be/LNwODJXcvt4",
        "python train.py --data coco.yaml --epochs 300 --weights '' --cfg yolov5n.yaml --batch-size 128",
        "python -m torch.distributed.run --nproc_per_node 4 --master_port 1 segment/train.py --data coco128-seg.yaml --weights yolov5s-seg.pt --img 640 --device 0,1,2,3",
        "python segment/train.py --data coco128-seg.yaml --weights yolov5s-seg.pt --img 640",
        "python segment/predict.py --weights yolov5m-seg.pt --source data/images/bus.jpg",
    ],
    "ultralytics/yolov5, utils/loggers/comet/README.md": [
        "python utils/loggers/comet/hpo.py --comet_optimizer_config utils/loggers/comet/optimizer_config.json",
    ],
    "vllm-project/vllm, docs/features/tool_calling.md": [
        "vllm serve meta-llama/Llama-3.1-8B-Instruct --enable-auto-tool-choice --tool-call-parser llama3_json --chat-template examples/tool_chat_template_llama3.1_json.jinja",
        "vllm serve mistral --tokenizer_mode mistral --config_format mistral --load_format mistral --tool-call-parser mistral",
        "VLLM_ENFORCE_STRICT_TOOL_CALLING=false vllm serve hermes --exclude-tools-when-tool-choice-none",
    ],
    "vwxyzjn/cleanrl, benchmark/ddpg_plot.sh": [
        "python -m openrlbenchmark.rlops --filters '?we=openrlbenchmark&wpn=cleanrl&ceik=env_id&cen=exp_name&metric=charts/episodic_return' 'ddpg_continuous_action?tag=pr-424' --no-check-empty-runs",
    ],
    "vwxyzjn/cleanrl, benchmark/sac_atari.sh": [
        "OMP_NUM_THREADS=1 python -m cleanrl_utils.benchmark --env-ids PongNoFrameskip-v4 BreakoutNoFrameskip-v4 BeamRiderNoFrameskip-v4 --command 'uv run python cleanrl/sac_atari.py --track'",
    ],
    "vwxyzjn/cleanrl, docs/advanced/resume-training.md": [
        "WANDB_RUN_ID=21421tda WANDB_RESUME=must python ppo_gridnet.py --prod-mode --capture_video",
    ],
    "vwxyzjn/cleanrl, docs/rl-algorithms/ppo.md": [
        "torchrun --standalone --nnodes=1 --nproc_per_node=2 cleanrl/ppo_atari_multigpu.py --env-id BreakoutNoFrameskip-v4",
    ],
}

# Names of options and values that look like secrets, of the usual trainers.
LOOK_ALIKES = r"""
python train.py --lr 3 --epochs 10
python -u -m pkg.train --seed=1 --data /data/imagenet --workers 8
python run_glue.py --model_name_or_path bert-base-cased --task_name mrpc --do_train --max_seq_length 128 --per_device_train_batch_size 32 --learning_rate 2e-5 --num_train_epochs 3 --output_dir /tmp/mrpc/
python run_clm.py --config_overrides n_embd=1024,n_head=16,n_layer=48 --tokenizer_name gpt2 --use_fast_tokenizer True --torch_dtype bfloat16 --block_size 1024 --save_total_limit 2
python run_mlm.py --mlm_probability 0.15 --pad_to_max_length --use_auth_token True --save_strategy steps --logging_steps 10
python run_translation.py --source_lang en --target_lang ro --forced_bos_token ro_RO --source_prefix "translate English to Romanian: "
python generate.py --max_new_tokens 512 --eos_token "</s>" --pad_token "<pad>" --mask-token "[MASK]" --stop_token "\n" --num_beams 4
python prepare.py --tokenizer bpe --special-tokens "<s>,</s>" --pad-token-id 0 --eos_token_id 2 --num-tokens 1000000 --token-type word
python textual_inversion.py --placeholder_token "<cat-toy>" --initializer_token toy --learnable_property object --resolution 512
python train_dreambooth.py --instance_prompt "a photo of sks dog" --mixed_precision fp16 --checkpointing_steps 500
fairseq-train data-bin/iwslt14.tokenized.de-en --arch transformer_iwslt_de_en --share-decoder-input-output-embed --optimizer adam --adam-betas "(0.9, 0.98)" --clip-norm 0.0 --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --max-tokens 4096 --eval-bleu-args '{"beam": 5, "max_len_a": 1.2}' --eval-bleu-detok moses --keep-best-checkpoints 1
fairseq-hydra-train task.data=/data model.token_dropout=0.1 dataset.max_tokens=3200000 --config-dir conf --config-name base
torchrun --nnodes=1:4 --nproc_per_node=8 --rdzv_id=100 --rdzv_backend=c10d --rdzv_endpoint=host1.example.com:29400 --max_restarts=3 train.py --arg1 5
python -m torch.distributed.run --master_addr 10.0.0.1 --master_port 29500 train.py --dist-url tcp://10.0.0.1:23456 --dist-backend nccl
accelerate launch --config_file default.yaml --num_processes 4 --main_process_port 29501 train.py --with_tracking --report_to wandb
deepspeed --num_gpus 8 --hostfile=hosts train.py --deepspeed ds_config.json --zero_stage 3 --gradient_accumulation_steps 4
deepspeed train.py --deepspeed_config '{"train_batch_size": 8, "fp16": {"enabled": true}, "zero_optimization": {"stage": 2}}'
python main.py fit --config config.yaml --trainer.max_epochs=10 --trainer.accelerator gpu --data.batch_size 32 --model.tokenizer=gpt2
python train.py trainer.devices=4 +experiment=base ++optimizer.lr=0.1 ~callbacks hydra.run.dir=. db@server=mysql model=resnet50
python pretrain_gpt.py --tensor-model-parallel-size 2 --num-attention-heads 16 --tokenizer-type GPT2BPETokenizer --vocab-file gpt2-vocab.json --merge-file gpt2-merges.txt --data-path my-gpt2_text_document --split 949,50,1 --vocab-extra-ids 0 --make-vocab-size-divisible-by 128 --no-load-optim --reset-position-ids --eod-mask-loss --num-tokens-to-keep 1
lm_eval --model hf --model_args pretrained=EleutherAI/pythia-160m,revision=step100000,dtype=float --tasks lambada_openai,hellaswag --device cuda:0 --batch_size auto:4
vllm serve meta-llama/Llama-3-8B --max-num-batched-tokens 8192 --max-model-len 4096 --tokenizer-mode auto --gpu-memory-utilization 0.9
python vit.py --mask-ratio 0.75 --patch-size 16 --num_register_tokens 4 --cls-token true --dist_token --drop-path 0.1 --task-name disk-a
python rl.py --env-id CartPole-v1 --total-timesteps 1e6 --key-dim 64 --num-keys 8 --keyboard off --monkey 3 --author anna --author=anna
python nerf.py --two-pass 1 --num_pass=3 --compass north --signature-def serving_default
git clone git@github.com:org/repo.git && docker run image:tag@sha256:0123456789abcdef -u 1000:1000 --name x
python train.py --remote ssh://git@host/r --s3 s3://bucket/key?versionId=3 --url http://host:8080/a@b --email anna@example.com
python train.py --private-key-path ~/.ssh/id_ed25519 --token-file /run/secrets/t --credentials conf/gcp.json --no-password x --cert a.pem
""".strip().splitlines()  # fmt: skip - each line is one command

COMMANDS = [command for commands in DOCUMENTED.values() for command in commands] + LOOK_ALIKES


@pytest.mark.parametrize("command", COMMANDS)
def test_ordinary_command_comes_through_untouched(command: str) -> None:
    """Nothing of it is taken for a secret: as words, as the text that is recorded, and as a line of a script."""
    words = shlex.split(command)
    assert redact_args(words) == words
    for text in (command, shlex.join(words), f"#!/bin/sh\n{command}\n", f'command: "{shlex.join(words)}"'):
        assert redact_text(text) == text
